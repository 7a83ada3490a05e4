"""Pages through the items, collects two of them, buys them and reads the outcome."""

import os
import uuid

from client import AuthenticatedClient
from client.api.checkouts import buy, collect, put_item
from client.api.purchases import purchase_of_code
from client.api.sales import items
from client.models import Checkout, CursorPageBodyItem, NewItem, NewItems, NewQuantity, Purchase
from client.types import UNSET, Unset

# The document asks for a token where `auth.buyers` is jwt; elsewhere any will do.
shop = AuthenticatedClient(base_url=os.environ["SHOP"], token="none")
sale = os.environ["SALE"]

found: list[str] = []
cursor: str | Unset | None = UNSET
while cursor is not None:
    part = items.sync(sale, client=shop, limit=2, cursor=cursor)
    assert isinstance(part, CursorPageBodyItem), part
    found += [item.id for item in part.data]
    cursor = part.next_cursor
assert found == ["1", "2", "3", "4", "5"], found

wanted = NewItems(buyer_id="openapi-python-client", sale_id=sale, items=[NewItem(id="1"), NewItem(id="2")])
checkout = collect.sync(client=shop, body=wanted, idempotency_key=str(uuid.uuid4()))
assert isinstance(checkout, Checkout), checkout
changed = put_item.sync(checkout.code, "2", client=shop, body=NewQuantity(quantity=2))
assert isinstance(changed, Checkout) and changed.pieces == 3, changed
bought = buy.sync(checkout.code, client=shop, idempotency_key=str(uuid.uuid4()))
assert isinstance(bought, Purchase) and bought.pieces_bought == 3, bought
assert purchase_of_code.sync(checkout.code, client=shop) == bought
