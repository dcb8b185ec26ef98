"""Calibration, scope and referral, fitted and measured."""
