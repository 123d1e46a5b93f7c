"""What happens at each validation while a model trains."""
