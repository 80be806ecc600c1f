"""Sweeps: grids of trainings, each trained network evaluated, on one machine or a cluster.

    sweep = Sweep(read_sweep(Path("solvers/sweeps/bang_lenet.yaml")), Path("build/sweep"))
    result = run_sweep(sweep)
    result.rows[0]["fgs.paper.rate"]

A point is a pure function of its description (description.py): the solver with its settings, the
networks, the data set's digest, the seed and the evaluation. compute.py evaluates that function, in
a process of its own (child.py) that a worker watches (worker.py). engine.py distributes the points
with Dask; store.py keeps one result per description.
"""
