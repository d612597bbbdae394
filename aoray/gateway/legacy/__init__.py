"""The HTTP dialect of AO's legacynet: messenger, scheduler and compute unit."""
