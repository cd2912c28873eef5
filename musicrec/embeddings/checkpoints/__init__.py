"""Reading published weights: hub, torch and safetensors files, conversions, cache."""
