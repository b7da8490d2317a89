"""The workloads that teach a latency model most are chosen, measured, and written to the LUT of the device.

- `stage`       rounds of proposals, each measured in all precisions side by side
- `chooser`     what to measure next, by what is known of the device
- `unfinished`  what a killed run had in hand: ``sample.json`` beside the journals
"""
