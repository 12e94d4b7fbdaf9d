"""Barlow Twins pretraining: recipe, views, objective, training over one or several processes."""
