"""The kernels of a network for a GPU or an Arm CPU, built into a folder: none need be there, and nothing is measured.

- `stage`       network -> kernels that it can need -> configs of each -> artifacts, from the cache or compiled
- `candidates`  the configs of each kernel as artifacts, for a target of any kind; bundles use it too
- `choice`      which of the valid configs are built
- `result`      what a run hands back, without the packages that made it
"""
