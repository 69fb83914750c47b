"""Live probes of a running stack, through HTTP and the engine. They read the model, never the templates."""
