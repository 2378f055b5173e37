"""Bridges: metrics of libraries that an application uses already. Each module imports its library, and no other module's."""
