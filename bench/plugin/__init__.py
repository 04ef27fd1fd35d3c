"""What the benchmark adds to Wegent: an event to echo, streams made inside the server, and users to begin with."""
