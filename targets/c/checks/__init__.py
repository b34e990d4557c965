"""Programs that look for faults in generated engines: sanitizers over ten minutes, and a fuzzer."""
