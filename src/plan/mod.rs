//! L2, planning: what follows from a model alone. The graph, its orders, the difference of two models.
