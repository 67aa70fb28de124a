"""Work that goes on beside the dashboard, each piece in a process of its own: extractions, fits,
imports, measures.

kinds        the closed set of what can be asked for, as checked data
tasks        the status file of a piece of work, and how to start, list, cancel and forget one
extractions  the extraction of a run, which is a task whose status is ``job.json``
processes    how a process is started, found alive or dead, and asked to stop
origin       whether a task was made by this user on this machine
"""
