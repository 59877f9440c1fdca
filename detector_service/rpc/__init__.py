"""The gRPC side: calls, streams, statuses, tokens. It knows the contract and the workers, not the models."""
