"""What all tables have in common."""

import peewee


class Table(peewee.Model):
    """Base of all tables; bound to a database when one is opened."""

    class Meta:
        """Names follow the class."""

        legacy_table_names = False
