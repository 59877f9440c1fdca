"""The bridge: WebSocket events and HTTP for browsers, over the gRPC contract; a client of the detector like any other."""
