"""Finds workers that run in Kubernetes: the pods of a label selector, or the endpoints of a Service."""
