"""The steps of one job: upload and submit, reconcile, download, deliver."""
