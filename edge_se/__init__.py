"""Edge speech enhancement: the device runtime."""
