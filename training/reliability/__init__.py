"""Calibration, scope and referral."""
