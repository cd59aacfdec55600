"""Steps from one version of the tables to the next; `service.store.migration` takes them."""
