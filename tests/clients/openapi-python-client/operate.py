"""What an operator's tool does: creates a sale, restocks an item, takes a purchase back, and reads why and by whom."""

import os
import uuid

import admin
from admin.api.audit import list_audit
from admin.api.buyers import cancel_purchase, list_refusals
from admin.api.sales import change_sale, create_sale, restock_item
from admin.models import (
    CancelBody,
    CancelledBody,
    ChangedSale,
    CreatedSale,
    CursorPageBodyAuditBody,
    NewSaleBody,
    RefusalsBody,
    RestockBody,
    SaleChangeBody,
    StockBody,
)
from client import AuthenticatedClient
from client.api.checkouts import buy, collect
from client.models import Checkout, NewItem, NewItems, Purchase

shop = AuthenticatedClient(base_url=os.environ["SHOP"], token="none")
operator = admin.AuthenticatedClient(
    base_url=os.environ["ADMIN"], token=os.environ["KEY"], prefix="", auth_header_name="X-Api-Key"
)

new = NewSaleBody(items=2, stock=1, name="Operated", duration="1h")
created = create_sale.sync(client=operator, body=new, idempotency_key=str(uuid.uuid4()))
assert isinstance(created, CreatedSale), created
sale = created.sale_id
changed = change_sale.sync(sale, client=operator, body=SaleChangeBody(name="Renamed"))
assert isinstance(changed, ChangedSale) and changed.name == "Renamed", changed
stock = restock_item.sync(sale, "2", client=operator, body=RestockBody(pieces=4))
assert isinstance(stock, StockBody) and stock.stock == 5, stock

wanted = NewItems(buyer_id="operated", sale_id=sale, items=[NewItem(id="2", quantity=2)])
checkout = collect.sync(client=shop, body=wanted, idempotency_key=str(uuid.uuid4()))
assert isinstance(checkout, Checkout), checkout
bought = buy.sync(checkout.code, client=shop, idempotency_key=str(uuid.uuid4()))
assert isinstance(bought, Purchase) and bought.pieces_bought == 2, bought

cancelled = cancel_purchase.sync(checkout.code, client=operator, body=CancelBody(items=["2"]))
assert isinstance(cancelled, CancelledBody) and cancelled.pieces_cancelled == 2, cancelled
why = list_refusals.sync(client=operator, code=checkout.code)
assert isinstance(why, RefusalsBody) and why.attempts[0].lines[0].cancelled_at is not None, why
audit = list_audit.sync(client=operator, sale_id=sale)
assert isinstance(audit, CursorPageBodyAuditBody), audit
actions = [entry.action for entry in audit.data]
assert actions == ["purchase_cancelled", "restocked", "changed", "created"], actions
