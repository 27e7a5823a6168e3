"""`leeside demo`: a server, a small agency and a drill on this machine, to look at and to take part in.

`server` runs `leeside-server` as a process of its own, `agency` founds and fills an agency through the client library,
`drill` plays it. Nothing here is simulated: keys are real, sockets are real, what is shown was opened by the device that
shows it. Only the keys' passphrase is no secret, so the keys are for the demo alone.
"""
