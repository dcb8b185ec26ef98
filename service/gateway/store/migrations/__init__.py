"""Migrations of the inbox's database."""
