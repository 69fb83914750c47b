"""CPU, memory and start of containers under cAdvisor's metric names, from files, not the engine socket."""
