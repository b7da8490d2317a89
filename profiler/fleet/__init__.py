"""Measuring on several machines at once, on Dask (dask.distributed). docs/fleet.md is the user's page.

    client (this machine)                       scheduler            workers (machines with cards)
    plan, searches, journals, LUTs
    `run`: who is there, who does what next
    `lane` per card: a tuner, its journals
         propose -> `compilers`: build      -->    ...      -->     `worker_side.build`: a compiler's process
                    artifacts, as bytes     <--    ...      <--
         `bench`: measure, a batch          -->    ...      -->     `worker_side.measure` --> `seat`: a process per card
                    records                 <--    ...      <--                               turn, load, verify, time
         journal, on disk; propose again

A task is one call of `measure.measure`: some candidates of a kernel, or the finalists of all kernels of a workload, in
turn. No record exists before such a call ends, since its kernels are sampled in alternation; so its result is all there
is to bring home, and it is on disk here before the next one is asked for. A worker that is lost takes along what it had
in hand and nothing else. The search is a function of the journal (`tuning.tuner`): on another worker of the same
fingerprint the workload goes on as if nothing had happened; on another card it is searched anew, and its cost model
begins with what the first one's journal says.

- `access`, `tls_files`  the scheduler's address, TLS           - `request`, `result`, `limits`, `events`
- `link`       Dask, from the client's side                     - `orders`   what travels
- `roster`     who is there                                     - `offers`   who measures what; versions
- `opening`    from a worker to lanes                           - `ledger`   what is waiting, in flight, done, given up
- `lane`       one card at work                                 - `bench`, `compilers`  a tuner's bench, elsewhere
- `run`        the loop that leads                              - `stage`    the stage as a function
- `worker_side`, `seat`  what runs on workers                   - `extras`   what cards measure beside the jobs
- `reference`, `reference_kernels`, `spread`  cards compared
"""
