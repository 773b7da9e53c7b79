"""Registration to UV, patches, PCA basis, shards. Empty until the dataset issue lands."""
