"""The cache on disk: where things lie, how they are written, how they are read. numpy and h5py,
no torch.
"""
