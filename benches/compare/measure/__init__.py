"""What `benches/compare/run` does, a file a step: matrix, cells, aims, document, chart."""
