"""latentgate: latent dynamics in JAX."""
