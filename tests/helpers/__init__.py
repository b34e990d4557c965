"""What several tests share: small networks, graphs, model files and signals."""
