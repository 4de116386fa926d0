"""Tests of securechat.bench. None of them measures speed: clocks are moved by hand."""
