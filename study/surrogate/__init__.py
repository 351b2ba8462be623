"""What pareto_gp (study/pareto_gp.py) models a study with: choices as codes, a Gaussian process over them, the hypervolume that a
net is expected to add. numpy and scipy; knows no Optuna, no net, no clock."""
