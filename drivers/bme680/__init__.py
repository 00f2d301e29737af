"""A gas sensor BME680 on an Arduino, over a serial line or TCP: lines of text, asked for or streamed.

`lines`, `formats` and `protocol` are pure (bytes to readings), `plausible` judges them, `session` is the conversation
without a wire, `client` puts it on one. `firmware/` is our own sketch; that of picosec-daq is understood as it is.
"""
