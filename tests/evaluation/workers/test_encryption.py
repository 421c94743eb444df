"""Addresses of Dask that its configuration has no certificates for, or forbids."""

import dask
import pytest

from ecomp_deap import ArgumentError, DaskWorkers


def test_an_encrypted_address_takes_certificates():
    expected = r"address: expected with it distributed\.comm\.tls\.ca-file and client\.cert"
    with pytest.raises(ArgumentError, match=expected):
        DaskWorkers("tls://127.0.0.1:1")


def test_an_address_that_is_not_encrypted_is_refused_where_it_has_to_be():
    with (
        dask.config.set({"distributed.comm.require-encryption": True}),
        pytest.raises(ArgumentError, match="address: expected tls://, as Dask's configuration"),
    ):
        DaskWorkers("tcp://127.0.0.1:1")
