"""Native code without a compiler of C: kernels for large arrays, worker threads, memory that is used again, and BLAS.

Nothing here is imported by ``import bibun``; the first large array brings it in. Without llvmlite everything still works, on NumPy.
"""
