"""The configuration: what can be configured, on the command line or in a TOML file.

===============  ===============================================================================================
`model`          the configuration itself, complete and checked, as the Monitor takes it
`error`          what every problem with it is raised as
`values`         one value at a time: addresses, numbers, CPUs, sizes; pure
`checks`         what only the machine knows: whether a script, a module, a directory or a CPU is there
`keys`           every key of a configuration file: the documentation's table is made from it
`placeholders`   distinguishes the copies of a class in their arguments and their environment
`toml_file`      a configuration file, read and checked
`lines`          on which line of a file each key stands
`render`         a configuration written as a file
`schema`         a JSON Schema of the file
`startfile`      a script and a unit of systemd that start a file
`options`        the options of ``maitred run``, checked
`instances`      where the control socket of an instance is, and which instances there are
===============  ===============================================================================================
"""
