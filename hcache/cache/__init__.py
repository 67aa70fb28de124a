"""The cache on disk: names and places, writing and reading. It uses numpy and h5py, and no
torch.
"""
