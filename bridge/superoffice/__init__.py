"""Everything that only SuperOffice knows: signature, payload, catalogue, normal form."""
