# SPDX-License-Identifier: LGPL-2.1-or-later
from django.db import models


class Tag(models.Model):
    word = models.CharField(max_length=30)

    def __str__(self):
        return self.word


class Item(models.Model):
    name = models.CharField(max_length=100)
    price = models.DecimalField(max_digits=8, decimal_places=2)
    added = models.DateTimeField(auto_now_add=True)
    tags = models.ManyToManyField(Tag)
