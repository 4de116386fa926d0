"""What is signed in public and checked by relay and clients: certificates, prekeys, logins, the logs of rooms."""
