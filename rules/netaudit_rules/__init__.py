"""The built-in pack: transfers of ATen ops and checks. Laid out as any third party's, with no privileges."""
