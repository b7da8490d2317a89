"""LUT rows from the tuning logs of AutoTVM (Apache TVM 0.7 to 0.19), which holds what others have published.

log.py       the lines of a log
tasks.py     which kernel a task's arguments describe, and what its template times
importer.py  rows of a log, and what was passed over and why

What such a time is (python/tvm/autotvm/measure/measure_methods.py and src/runtime/rpc/rpc_session.cc of TVM 0.7):

- a cost is the mean of many launches, back to back between two readings of the host's clock (from TVM 0.8 on: between
  two events), after one launch that is not counted. Of a short kernel the gaps between launches may be most of it.
- every launch finds the buffers of the last one: cache mode ``hot``. (AutoTVM can flush the caches of a CPU only.)
- of more than two repeats the longest and the shortest are dropped, so that three repeats leave their median.
- buffers are not initialized, and outputs are not compared unless that was asked for.
- a log keeps what its tuner tried or, after ``pick_best``, the fastest; fastest of many is a little too fast.
"""
