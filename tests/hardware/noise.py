"""What disturbs a clock, for the fake worlds of the tests: noise(now in seconds, a random.Random) -> factor on a call's time."""

import math


def jitter(now, draw):
    return 1 + draw.expovariate(1 / 0.05)


def drift(now, draw):
    return (1 + 0.2 * (1 - math.cos(2 * math.pi * (now - 99.5) / 2))) * (1 + draw.expovariate(1 / 0.02))


def bursts(now, draw):
    """Another process, two fifths of the time, some tenths of a second at once: three times as slow."""
    return (3.0 if (now * 2.3) % 1 < 0.4 else 1.0) * (1 + draw.expovariate(1 / 0.01))
