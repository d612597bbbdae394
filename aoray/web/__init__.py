"""HTTP without AO: servers, connections and their bounds, errors as JSON."""
