"""The algebra that the three families share: x_t = a(t) x0 + b(t) eps, with t = 0 data and t = 1 noise."""
