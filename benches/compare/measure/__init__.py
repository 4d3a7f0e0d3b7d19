"""The steps of `benches/compare/run`, one per file: matrix, cells, aims, document, chart."""
