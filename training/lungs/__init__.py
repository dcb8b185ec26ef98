"""Lung fields of radiographs."""
