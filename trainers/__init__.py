"""How accurate it gets: data, recipe, training. Knows searchspace; knows no clock, no storage, no configuration."""
