"""Registration to UV, patches, PCA basis, shards and their reader; photographs, virtual people, other labs' sets."""
