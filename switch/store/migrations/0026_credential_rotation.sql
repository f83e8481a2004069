-- Who rotated an API credential last: besides created_by, who may know its secret. `Caller.name`, "" where nobody did.
ALTER TABLE merchant_credentials ADD COLUMN rotated_by text NOT NULL DEFAULT '';
