"""What a network does in steady state, over batches: images a second, joules an image, and where batching stops to pay.

- `point`  the windows of a configuration at a batch, and what follows from them
- `knee`   the batch from which on larger ones gain little, or why none can be named
- `digests` what tells networks and bits of one name apart
- `file`   ``lut/<device>.throughput.json``: read, merged, written
- `unfinished`  the windows of a run until all are there
"""
