"""Data that is named without a spec, and specs that are written for people: for their data or another tool's file."""
